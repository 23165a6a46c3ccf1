"""The world comes in: decode, authenticate, call one flow, encode."""

"""The field's words as frozen values. Imports nothing of ours; every floor may import it."""

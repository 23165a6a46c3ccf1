"""The provider drill: one of two providers misbehaves in every way, and every answer is compared with what each said."""

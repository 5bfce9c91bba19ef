"""From the bytes of an image file to pixels: one reader per library, all of them to the same pixels.

No paths and no batches. Nothing is imported here; `convarium.data.readers.choice` finds the reader of a name.
"""

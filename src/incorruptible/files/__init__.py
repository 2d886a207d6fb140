"""Files of results: written whole or not at all, checked when they are read (`records`), and with a
note of what they were made with (`provenance`).
"""

"""Files of results: written whole or not at all, checked when they are read (`records`), and with a
note of what they were made with (`provenance`).

A file that is being written has another name until it is complete. Whoever reads it therefore finds
the old file or the new one, and never a half. JSON files carry a checksum, so a file that was
altered or torn is named and not believed.

    records.write(path, {"loss": 0.1})
    records.read(path)  # a `UserError` that names the file if it is torn or altered
"""

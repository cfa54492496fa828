"""PEAQ Basic (ITU-R BS.1387): objective difference grades of sounds."""

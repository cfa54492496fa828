"""Control of sounds by descriptor curves."""

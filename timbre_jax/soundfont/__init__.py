"""SoundFont 2 banks: parser, offline player and composed phrases."""

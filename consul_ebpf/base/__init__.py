"""Small tools without a word of Consul: files, cells, tasks, events, lines of text."""

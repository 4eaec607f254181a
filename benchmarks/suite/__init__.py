"""What `run.py` measures, how it records it, and the page that it writes."""

"""Local web page that compares two faces at low resolution: comparison, face extraction, HTTP server, application."""

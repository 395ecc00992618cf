"""A local page that shows what a student makes of two faces: the judgement, the pictures, the server, the command."""

"""Runs read back from their folders, whether they go on, have ended or were killed: their table, picture and page."""

"""Thin adapters to trainers, each of which imports its library when it is imported itself.

Called by users only.
Never imported by another room.
"""

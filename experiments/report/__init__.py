"""All studies on one page, from the records that there are."""

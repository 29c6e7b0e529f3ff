"""Pure decisions: from what is observed to named actions with reasons."""

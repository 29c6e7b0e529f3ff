"""vectorfleet for its users: the client, and the contract that operator and nodes share."""

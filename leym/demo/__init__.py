"""`leym demo`: twelve universes through a service of its own, with pictures to look at afterwards."""

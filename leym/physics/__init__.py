"""Physics of a universe: start states, the step equation, and what can be measured of a state."""

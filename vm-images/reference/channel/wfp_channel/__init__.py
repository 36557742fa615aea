"""The guest's end of the second control channel: a serial port that no filter driver is in the way of."""

"""What routing needs to know: policies indexed, abilities of models, observations, and why a call goes where."""

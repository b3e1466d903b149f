"""When the answer to one question may stand in for the answer to another: guards, features, and earned trust."""

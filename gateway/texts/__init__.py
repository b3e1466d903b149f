"""What a text says, how it is spelt, and what in it is private: leaves, which import nothing of the other rooms."""

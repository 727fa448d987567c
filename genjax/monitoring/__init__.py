"""What is watched while a model trains, and the warnings that follow."""

"""What is printed about handlers and configuration, all of it from the code. Runs nothing."""

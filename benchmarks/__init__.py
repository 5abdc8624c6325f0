"""What the project costs and how well it predicts, measured."""

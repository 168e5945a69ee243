"""ACL tokens: where they come from, and how they are replaced while in use."""

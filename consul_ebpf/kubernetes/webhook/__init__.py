"""What the API server asks for each new pod, and what becomes of the pod."""

"""What the service says about itself: the introduction on its page, the OpenAPI document, and `/docs`."""

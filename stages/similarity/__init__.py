"""Songs that are near each other, within and between stores, and distances between stores."""

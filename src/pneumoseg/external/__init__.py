"""External sets: radiographs from elsewhere, on which trained networks and tuned rule are judged as they are."""

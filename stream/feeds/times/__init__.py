"""When pictures are shown and were filmed: every packet gets its time, of recordings and of cameras."""

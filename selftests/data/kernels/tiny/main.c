void start(void) { for (;;); }

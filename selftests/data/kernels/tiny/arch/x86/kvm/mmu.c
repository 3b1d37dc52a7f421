int NAME(int accessed, int dirty)
{
	int flush = 0;

	if (accessed)
		flush = 1;

	if (dirty)
		flush = 1;

	return flush;
}

int tiny_age(int accessed, int dirty)
{
	int flush = 0;

	if (accessed)
		flush = 1;

	if (dirty)
		flush = 1;

	return flush;
}

int kvm_make_all_cpus_request(void *kvm, unsigned int req);

void kvm_flush_remote_tlbs(void *kvm)
{
	kvm_make_all_cpus_request(kvm, 0x300);
}

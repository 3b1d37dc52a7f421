# The whole kernel.
.globl start
.type start, @function
start:
	jmp start

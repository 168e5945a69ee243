/* Included first by BCC; its helpers ask for this one option. */
#define CONFIG_BPF_SYSCALL 1

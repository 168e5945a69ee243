"""`python -m consul_ebpf`."""

from consul_ebpf.cli import main

if __name__ == "__main__":
    main()

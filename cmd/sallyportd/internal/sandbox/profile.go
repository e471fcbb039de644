package sandbox

// Profile lists what one process of the server needs beyond the calls that all need.
type Profile struct {
	Families []int // of sockets, AF_*
	BPF      bool  // bpf(2)
	NoFiles  bool  // it opens no file
}

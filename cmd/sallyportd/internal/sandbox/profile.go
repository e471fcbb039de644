package sandbox

// Profile lists what one process of the server needs beyond the calls that all need.
type Profile struct {
	Name     string // of the process, in a Report
	Families []int  // of sockets, AF_*
	BPF      bool   // bpf(2)
	NoFiles  bool   // it opens no file
	Files    Files  // that it opens; without NoFiles
	Signals  bool   // it sends signals to other processes, or they get one at its end
}

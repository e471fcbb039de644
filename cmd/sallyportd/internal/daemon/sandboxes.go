package daemon

import (
	"sallyport/cmd/sallyportd/internal/admin"
	"sallyport/cmd/sallyportd/internal/sandbox"
)

// sandboxes returns what is in force in this process, in the capturer and in the holder, as
// each has reported it. It asks none of them.
func (s *Server) sandboxes() []admin.Sandbox {
	list := []admin.Sandbox{}
	if s.env.Sandbox.Process != "" {
		list = append(list, shownSandbox(s.env.Sandbox))
	}
	add := func(text []byte, process string) {
		if r, ok := sandbox.ReadReport(text, process); ok {
			list = append(list, shownSandbox(r))
		}
	}
	if s.challenge != nil {
		add(s.challenge.sandbox, "capturer")
	}
	if s.holder != nil {
		add(s.holder.Sandbox(), "holder")
	} else if s.shield != nil {
		add(s.shield.holder.Sandbox(), "holder")
	}
	return list
}

func shownSandbox(r sandbox.Report) admin.Sandbox {
	return admin.Sandbox{
		Process: r.Process, NoNewPrivs: r.NoNewPrivs, Seccomp: r.Seccomp, Landlock: r.Landlock,
		Files: (*admin.SandboxFiles)(r.Files),
	}
}

package sshkey

import (
	"cmp"
	"context"
	"io"
	"os"
)

// dialAgent opens the pipe of the agent that is part of Windows, or that of the
// environment.
func dialAgent(context.Context) (io.ReadWriteCloser, error) {
	return os.OpenFile(cmp.Or(os.Getenv("SSH_AUTH_SOCK"), `\\.\pipe\openssh-ssh-agent`), os.O_RDWR, 0)
}

package moved

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"sallyport/cmd/sallyportd/internal/systemd"
)

// Room returns how many connections the manager may store, and MaxConnections at most.
func Room(m systemd.Notifier) int {
	limit, known := m.StoreLimit()
	if !known {
		return MaxConnections
	}
	return max(0, min((limit-1)/2, MaxConnections))
}

// Store passes connections to the manager's store, and closes their descriptors. Those that
// the manager does not store are reset when it closes them.
func Store(ctx context.Context, m systemd.Notifier, list []Connection) (err error) {
	defer func() {
		for _, c := range list {
			c.Close()
		}
	}()
	rows := make([]row, len(list))
	for i, c := range list {
		client, err := cookie(c.Client)
		if err != nil {
			return err
		}
		server, err := cookie(c.Server)
		if err != nil {
			return err
		}
		rows[i] = rowOf(c, client, server)
	}
	text, err := encode(rows)
	if err != nil {
		return err
	}
	file, err := sealed(text)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := m.Store(Name, file); err != nil {
		return fmt.Errorf("store the table of connections: %w", err)
	}
	for _, c := range list {
		err := ctx.Err() // the manager may take each one slowly
		if err == nil {
			err = m.Store(Name, c.Client, c.Server)
		}
		if err != nil {
			return fmt.Errorf("store a connection: %w", err)
		}
	}
	return m.Barrier(ctx)
}

// Remove removes all connections from the manager's store, and returns when that is done.
func Remove(ctx context.Context, m systemd.Notifier) error {
	if err := m.Remove(Name); err != nil {
		return fmt.Errorf("remove connections from the store: %w", err)
	}
	return m.Barrier(ctx)
}

// End ends a connection also if other processes have its sockets, and closes it.
func (c Connection) End() {
	defer c.Close()
	for _, f := range []*os.File{c.Client, c.Server} {
		raw, err := f.SyscallConn()
		if err != nil {
			continue
		}
		raw.Control(func(fd uintptr) {
			// A connect to no address resets a connection of TCP.
			none := unix.RawSockaddr{Family: unix.AF_UNSPEC}
			_, _, e := unix.Syscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&none)), unsafe.Sizeof(none))
			if e != 0 {
				unix.Shutdown(int(fd), unix.SHUT_RDWR)
			}
		})
	}
}

// seals of the table: it has its content for good.
const seals = unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE

func sealed(text []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate("connections", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "connections")
	if _, err = f.Write(text); err == nil {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write the table of connections: %w", err)
	}
	return f, nil
}

// Take returns the connections that a server has stored, from all descriptors of the store.
// It closes the descriptors that are no part of one.
func Take(files []*os.File) (list []Connection, err error) {
	var rows []row
	tables := 0
	sockets := map[uint64]*os.File{}
	for _, f := range files {
		id, notSocket := cookie(f)
		if notSocket == nil && sockets[id] == nil {
			sockets[id] = f
			continue
		}
		if notSocket != nil {
			tables++
			if rows, err = read(f); err == nil && tables > 1 {
				rows, err = nil, errors.New("there are several tables of connections")
			}
		}
		f.Close()
	}
	for _, r := range rows {
		c := r.connection()
		c.Client, c.Server = sockets[r.Client], sockets[r.Server]
		if err == nil && c.Client != nil && c.Server != nil {
			delete(sockets, r.Client)
			delete(sockets, r.Server)
			list = append(list, c)
		}
	}
	for _, f := range sockets {
		f.Close()
	}
	return list, err
}

// read returns the rows of a sealed file.
func read(f *os.File) ([]row, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, err
	}
	var has int
	failed := raw.Control(func(fd uintptr) { has, err = unix.FcntlInt(fd, unix.F_GET_SEALS, 0) })
	if err := errors.Join(failed, err); err != nil || has&seals != seals {
		return nil, errors.Join(errors.New("the table of connections is not sealed"), err)
	}
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxTable+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxTable {
		return nil, errors.New("the table of connections is too long")
	}
	return decode(text)
}

// cookie returns the number of a socket, which no other socket has had since the kernel has
// started.
func cookie(f *os.File) (id uint64, err error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Control(func(fd uintptr) { id, err = unix.GetsockoptUint64(int(fd), unix.SOL_SOCKET, unix.SO_COOKIE) })
	return id, errors.Join(failed, os.NewSyscallError("getsockopt SO_COOKIE", err))
}

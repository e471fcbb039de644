package faultfs

import (
	"context"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// fileNode and directoryNode implement the interfaces of go-fuse for the objects
// of the disk.
type fileNode struct {
	fs.Inode
	disk *disk
	file *file
}

type directoryNode struct {
	fs.Inode
	disk      *disk
	directory *directory
}

var (
	_ fs.NodeOpener    = (*fileNode)(nil)
	_ fs.NodeReader    = (*fileNode)(nil)
	_ fs.NodeWriter    = (*fileNode)(nil)
	_ fs.NodeFsyncer   = (*fileNode)(nil)
	_ fs.NodeGetattrer = (*fileNode)(nil)
	_ fs.NodeSetattrer = (*fileNode)(nil)

	_ fs.NodeCreater        = (*directoryNode)(nil)
	_ fs.NodeMkdirer        = (*directoryNode)(nil)
	_ fs.NodeUnlinker       = (*directoryNode)(nil)
	_ fs.NodeRenamer        = (*directoryNode)(nil)
	_ fs.NodeLinker         = (*directoryNode)(nil)
	_ fs.NodeOpendirHandler = (*directoryNode)(nil)
)

func (n *fileNode) Open(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return nil, 0, 0
}

func (n *fileNode) Read(_ context.Context, _ fs.FileHandle, buffer []byte, at int64) (fuse.ReadResult, syscall.Errno) {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	return fuse.ReadResultData(buffer[:n.file.read(buffer, at)]), 0
}

func (n *fileNode) Write(_ context.Context, _ fs.FileHandle, data []byte, at int64) (uint32, syscall.Errno) {
	errno := n.disk.change(func() { n.file.write(data, at) }, nil)
	if errno != 0 {
		return 0, errno
	}
	return uint32(len(data)), 0
}

func (n *fileNode) Fsync(context.Context, fs.FileHandle, uint32) syscall.Errno {
	return n.disk.change(n.file.sync, n.file.forget)
}

func (n *fileNode) Getattr(_ context.Context, _ fs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	n.disk.mu.Lock()
	defer n.disk.mu.Unlock()
	out.Mode, out.Size, out.Nlink = syscall.S_IFREG|0o600, uint64(n.file.now.size), 1
	return 0
}

func (n *fileNode) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		if errno := n.disk.change(func() { n.file.truncate(int64(size)) }, nil); errno != 0 {
			return errno
		}
	}
	return n.Getattr(ctx, h, out)
}

func (n *directoryNode) Create(
	ctx context.Context, name string, _ uint32, _ uint32, out *fuse.EntryOut,
) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	f := newFile()
	if errno := n.disk.change(func() { n.directory.now[name] = f }, nil); errno != 0 {
		return nil, nil, 0, errno
	}
	out.Mode, out.Nlink = syscall.S_IFREG|0o600, 1 // otherwise it could not be linked
	return n.NewPersistentInode(ctx, &fileNode{disk: n.disk, file: f}, fs.StableAttr{Mode: syscall.S_IFREG}), nil, 0, 0
}

func (n *directoryNode) Mkdir(
	ctx context.Context, name string, _ uint32, out *fuse.EntryOut,
) (*fs.Inode, syscall.Errno) {
	d := newDirectory()
	if errno := n.disk.change(func() { n.directory.now[name] = d }, nil); errno != 0 {
		return nil, errno
	}
	out.Mode = syscall.S_IFDIR | 0o700
	node := &directoryNode{disk: n.disk, directory: d}
	return n.NewPersistentInode(ctx, node, fs.StableAttr{Mode: syscall.S_IFDIR}), 0
}

func (n *directoryNode) Unlink(_ context.Context, name string) syscall.Errno {
	return n.disk.change(func() { delete(n.directory.now, name) }, nil)
}

func (n *directoryNode) Link(
	_ context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut,
) (*fs.Inode, syscall.Errno) {
	f, ok := target.(*fileNode)
	if !ok {
		return nil, syscall.EPERM
	}
	if errno := n.disk.change(func() { n.directory.now[name] = f.file }, nil); errno != 0 {
		return nil, errno
	}
	out.Mode, out.Nlink = syscall.S_IFREG|0o600, 1 // otherwise it could not be linked
	return f.EmbeddedInode(), 0
}

func (n *directoryNode) Rename(
	_ context.Context, name string, parent fs.InodeEmbedder, newName string, flags uint32,
) syscall.Errno {
	if parent != fs.InodeEmbedder(n) || flags != 0 {
		return syscall.ENOTSUP
	}
	return n.disk.change(func() {
		n.directory.now[newName] = n.directory.now[name]
		delete(n.directory.now, name)
	}, nil)
}

// OpendirHandle returns a handle of a directory, which can be synced.
func (n *directoryNode) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	return &directoryHandle{n}, 0, 0
}

type directoryHandle struct{ node *directoryNode }

var _ fs.FileFsyncdirer = (*directoryHandle)(nil)

func (h *directoryHandle) Fsyncdir(context.Context, uint32) syscall.Errno {
	d := h.node.directory
	return h.node.disk.change(func() {
		clear(d.stable)
		for name, object := range d.now {
			d.stable[name] = object
		}
	}, nil)
}

package flood

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/cilium/ebpf"
)

// maps are the memory that the program shares with this process.
type maps struct {
	progress *ebpf.Map // one value of type progress
	flood    *ebpf.Map // frames
	honest   *ebpf.Map // frames
	stamps   *ebpf.Map // when each honest frame was sent
}

// mapsOf creates the maps of a stream, with each frame padded to a size.
func mapsOf(s Stream, size int) (m maps, err error) {
	defer func() {
		if err != nil {
			m.close()
		}
	}()
	if m.progress, err = array("progress", int(unsafe.Sizeof(progress{})), 1); err != nil {
		return m, err
	}
	if m.flood, err = frames("frames", s.Flood, size); err != nil {
		return m, err
	}
	if m.honest, err = frames("honest", s.Honest, size); err != nil {
		return m, err
	}
	m.stamps, err = array("stamps", 8, len(s.Honest))
	return m, err
}

func array(name string, size, n int) (*ebpf.Map, error) {
	m, err := ebpf.NewMap(&ebpf.MapSpec{
		Name: name, Type: ebpf.Array, KeySize: 4, ValueSize: uint32(size), MaxEntries: uint32(max(n, 1)),
	})
	if err != nil {
		return nil, fmt.Errorf("create the generator's map %s: %w", name, err)
	}
	return m, nil
}

func frames(name string, list [][]byte, size int) (*ebpf.Map, error) {
	m, err := array(name, size, len(list))
	if err != nil || len(list) == 0 {
		return m, err
	}
	padded := make([]byte, size)
	for i, f := range list {
		clear(padded[copy(padded, f):])
		if err := m.Put(uint32(i), padded); err != nil {
			m.Close()
			return nil, fmt.Errorf("fill the generator's map %s: %w", name, err)
		}
	}
	return m, nil
}

func (m maps) close() {
	for _, one := range []*ebpf.Map{m.progress, m.flood, m.honest, m.stamps} {
		if one != nil {
			one.Close()
		}
	}
}

// result reads the program's result.
func (m maps) result(s Stream) (Sent, error) {
	var p progress
	if err := m.progress.Lookup(uint32(0), &p); err != nil {
		return Sent{}, fmt.Errorf("read the generator's result: %w", err)
	}
	r := Sent{Frames: p.Frames, Honest: make([]int64, len(s.Honest))}
	if len(s.Honest) == 0 {
		return r, nil
	}
	var cursor ebpf.MapBatchCursor
	keys, values := make([]uint32, len(s.Honest)), make([]int64, len(s.Honest))
	n, err := m.stamps.BatchLookup(&cursor, keys, values, nil)
	if err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return r, fmt.Errorf("read the generator's result: %w", err)
	}
	for i := range n {
		r.Honest[keys[i]] = values[i]
	}
	return r, nil
}

package daemon

import (
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"unsafe"
)

type walked struct {
	at   unsafe.Pointer
	kind reflect.Type
}

// walker follows the pointers of a server's parts, and finds the counters by their paths.
type walker struct {
	seen  map[walked]bool
	found map[string]func(uint64)
}

// mostElements is how many elements of a list it follows: a list of counters has fewer, and one
// of slots or clients many more.
const mostElements = 64

func (w walker) walk(path string, v reflect.Value) {
	if v.CanAddr() {
		v = reflect.NewAt(v.Type(), unsafe.Pointer(v.UnsafeAddr())).Elem() // also a field that is not exported
		at := walked{unsafe.Pointer(v.UnsafeAddr()), v.Type()}
		if w.seen[at] {
			return
		}
		w.seen[at] = true
	}
	kind := v.Type()
	if kind.PkgPath() == "sync/atomic" && v.CanAddr() {
		if n, ok := v.Addr().Interface().(*atomic.Uint64); ok {
			w.found[path] = func(by uint64) { n.Add(by) }
		} else if load := v.Addr().MethodByName("Load"); strings.HasPrefix(kind.Name(), "Pointer[") && load.IsValid() {
			w.walk(path, load.Call(nil)[0])
		}
		return
	}
	if pkg := kind.PkgPath(); pkg != "" && !strings.HasPrefix(pkg, "sallyport/") && kind.Kind() == reflect.Struct {
		return
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if !v.IsNil() {
			w.walk(path, v.Elem())
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := kind.Field(i).Name
			w.walk(path+"."+name, v.Field(i))
			// Counters that are only used under a lock of their part. Nothing else changes them
			// here, since nothing arrives.
			f := v.Field(i)
			counts := strings.HasSuffix(kind.Name(), "Stats") || kind.Name()+"."+name == "connections.replaced"
			if counts && f.Kind() == reflect.Uint64 && f.CanAddr() {
				n := (*uint64)(unsafe.Pointer(f.UnsafeAddr()))
				w.found[path+"."+name] = func(by uint64) { *n += by }
			}
		}
	case reflect.Array, reflect.Slice:
		if flat(kind.Elem()) {
			return // buffers and the like
		}
		for i := range min(v.Len(), mostElements) {
			w.walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i))
		}
	case reflect.Map:
		for i, key := range v.MapKeys() {
			if i == mostElements {
				break
			}
			w.walk(fmt.Sprintf("%s[%v]", path, key), v.MapIndex(key))
		}
	}
}

// flat reports whether values of a type have neither pointers nor counters.
func flat(kind reflect.Type) bool {
	switch kind.Kind() {
	case reflect.Struct:
		if kind.PkgPath() == "sync/atomic" {
			return false
		}
		for i := range kind.NumField() {
			if !flat(kind.Field(i).Type) {
				return false
			}
		}
		return !strings.HasSuffix(kind.Name(), "Stats")
	case reflect.Array:
		return flat(kind.Elem())
	case reflect.Pointer, reflect.Interface, reflect.Slice, reflect.Map:
		return false
	}
	return true
}

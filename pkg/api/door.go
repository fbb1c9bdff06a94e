package api

import (
	"container/list"
	"net"
	"net/http"
	"sync"
)

// door bounds how many connections are open at once. When there are as many as may be, a new one takes the place of the
// one that has been idle for longest; where none is idle, it is closed itself. So a crowd that connects and says nothing
// keeps nobody out, and never uses up the files that the connections to the database need.
type door struct {
	most int

	mu   sync.Mutex
	open map[net.Conn]*list.Element // of idle, or nil
	idle *list.List                 // of net.Conn, longest first; a connection that has not said anything yet is idle
}

func newDoor(most int) *door {
	return &door{most: most, open: map[net.Conn]*list.Element{}, idle: list.New()}
}

// watch is the server's ConnState.
func (d *door) watch(conn net.Conn, state http.ConnState) {
	if over := d.move(conn, state); over != nil {
		over.Close() // its reader sees that, and the server says so here
	}
}

// move takes note of a connection's state and gives the one that has to go.
func (d *door) move(conn net.Conn, state http.ConnState) (over net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.open[conn]; at != nil {
		d.idle.Remove(at)
	}
	switch state {
	case http.StateNew:
		if len(d.open) >= d.most {
			over = d.longestIdle(conn)
		}
		d.open[conn] = d.idle.PushBack(conn)
	case http.StateIdle:
		d.open[conn] = d.idle.PushBack(conn)
	case http.StateActive:
		d.open[conn] = nil
	default: // closed or hijacked
		delete(d.open, conn)
	}
	return over
}

func (d *door) longestIdle(or net.Conn) net.Conn {
	front := d.idle.Front()
	if front == nil {
		return or
	}
	conn := d.idle.Remove(front).(net.Conn)
	d.open[conn] = nil // until it is closed
	return conn
}

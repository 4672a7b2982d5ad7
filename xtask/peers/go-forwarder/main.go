// The forwarder that is a few lines of Go: io.Copy both ways, with half-close.
//
//	go-forwarder LISTEN BACKEND
package main

import (
	"fmt"
	"io"
	"net"
	"os"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go-forwarder LISTEN BACKEND")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			continue
		}
		go forward(client.(*net.TCPConn), os.Args[2])
	}
}

func forward(client *net.TCPConn, backend string) {
	defer client.Close()
	dialed, err := net.Dial("tcp", backend)
	if err != nil {
		return
	}
	server := dialed.(*net.TCPConn)
	defer server.Close()
	done := make(chan struct{})
	go func() {
		io.Copy(server, client)
		server.CloseWrite()
		close(done)
	}()
	io.Copy(client, server)
	client.CloseWrite()
	<-done
}

// A CONNECT proxy as one writes it in Go in an afternoon: the peer of the benchmarks.
package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"os"
)

func tunnel(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	server, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	client, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		server.Close()
		return
	}
	client.Write([]byte("HTTP/1.1 200 Connection established\r\n\r\n"))
	copy := func(to, from net.Conn, done chan<- bool) {
		io.Copy(to, from)
		to.(*net.TCPConn).CloseWrite()
		done <- true
	}
	done := make(chan bool, 2)
	go copy(server, client, done)
	go copy(client, server, done)
	<-done
	<-done
	server.Close()
	client.Close()
}

func main() {
	log.Fatal(http.ListenAndServe(os.Args[1], http.HandlerFunc(tunnel)))
}

// A client on golang.org/x/crypto/ssh; see ../README.md for the commands.
package main

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"
)

func main() {
	status, err := run(os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(255)
	}
	os.Exit(status)
}

func run(address, keys, hostKey, command string, args []string) (int, error) {
	var signers []ssh.Signer
	for _, key := range strings.Split(keys, ",") {
		pem, err := os.ReadFile(key)
		if err != nil {
			return 0, err
		}
		signer, err := ssh.ParsePrivateKey(pem)
		if err != nil {
			return 0, err
		}
		signers = append(signers, signer)
	}
	trusted, _, _, _, err := ssh.ParseAuthorizedKey([]byte(hostKey))
	if err != nil {
		return 0, err
	}
	config := &ssh.ClientConfig{
		User:            "someone",
		Auth:            []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback: ssh.FixedHostKey(trusted),
	}
	if bytes, err := strconv.ParseUint(os.Getenv("REKEY"), 10, 64); err == nil {
		config.RekeyThreshold = bytes
	}
	client, err := ssh.Dial("tcp", address, config)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	switch command {
	case "exec":
		return execute(client, args[0])
	case "many":
		return 0, many(client, args[0], args[1])
	case "reach":
		return 0, reach(client, net.JoinHostPort(args[0], args[1]))
	case "listen":
		return 0, listen(client, args[0])
	}
	files, err := sftp.NewClient(client)
	if err != nil {
		return 0, err
	}
	defer files.Close()
	switch command {
	case "put":
		return 0, put(files, args[0], args[1])
	case "get":
		return 0, get(files, args[0], args[1])
	case "list":
		return 0, list(files, args[0])
	}
	return 0, fmt.Errorf("unknown command %q", command)
}

func execute(client *ssh.Client, command string) (int, error) {
	session, err := client.NewSession()
	if err != nil {
		return 0, err
	}
	session.Stdin, session.Stdout, session.Stderr = os.Stdin, os.Stdout, os.Stderr
	return status(session.Run(command))
}

func status(err error) (int, error) {
	var exit *ssh.ExitError
	if errors.As(err, &exit) && exit.Signal() == "" {
		return exit.ExitStatus(), nil
	}
	return 0, err
}

// So many commands at once on one connection, each with bytes of its own.
func many(client *ssh.Client, count, size string) error {
	commands, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	length, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	failures := make([]error, commands)
	var all sync.WaitGroup
	for number := range failures {
		all.Add(1)
		go func(number int) {
			defer all.Done()
			failures[number] = one(client, number, length)
		}(number)
	}
	all.Wait()
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	fmt.Println("right")
	return nil
}

func one(client *ssh.Client, number, length int) error {
	session, err := client.NewSession()
	if err != nil {
		return err
	}
	sent := make([]byte, length)
	if _, err := rand.Read(sent); err != nil {
		return err
	}
	var received bytes.Buffer
	session.Stdin, session.Stdout = bytes.NewReader(sent), &received
	exit, err := status(session.Run(fmt.Sprintf("cat; exit %d", number)))
	if err != nil {
		return err
	}
	if exit != number || !bytes.Equal(received.Bytes(), sent) {
		return fmt.Errorf("wrong: %d ended with %d after %d bytes", number, exit, received.Len())
	}
	return nil
}

// A connection to a target through the node, on standard input and output.
func reach(client *ssh.Client, target string) error {
	connection, err := client.Dial("tcp", target)
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(connection, os.Stdin)
		_ = connection.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_, err = io.Copy(os.Stdout, connection)
	return err
}

// Has the node listen and gives back what comes in, until standard input ends.
func listen(client *ssh.Client, port string) error {
	// Keep-alives, with and without an answer; it must not be mixed up with the next.
	for _, answer := range []bool{true, false} {
		if _, _, err := client.SendRequest("keepalive@example.com", answer, nil); err != nil {
			return err
		}
	}
	listener, err := client.Listen("tcp", net.JoinHostPort("127.0.0.1", port))
	if err != nil {
		return err
	}
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(connection, connection)
				_ = connection.Close()
			}()
		}
	}()
	_, bound, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return err
	}
	fmt.Println("listening", bound)
	_, _ = io.Copy(io.Discard, os.Stdin)
	if err := listener.Close(); err != nil {
		return err
	}
	fmt.Println("cancelled")
	return nil
}

func put(client *sftp.Client, local, remote string) error {
	source, err := os.Open(local)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := client.Create(remote)
	if err != nil {
		return err
	}
	if _, err := target.ReadFrom(source); err != nil {
		return err
	}
	return target.Close()
}

func get(client *sftp.Client, remote, local string) error {
	source, err := client.Open(remote)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(local)
	if err != nil {
		return err
	}
	if _, err := source.WriteTo(target); err != nil {
		return err
	}
	return target.Close()
}

func list(client *sftp.Client, path string) error {
	entries, err := client.ReadDir(path)
	if err != nil {
		return err
	}
	sort.Slice(entries, func(a, b int) bool { return entries[a].Name() < entries[b].Name() })
	for _, entry := range entries {
		fmt.Println(entry.Name())
	}
	return nil
}

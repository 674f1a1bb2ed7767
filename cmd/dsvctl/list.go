package main

import (
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/dsvault/dsv"
	"github.com/dsvault/dsv/client"
)

func secretList(a *app) *cobra.Command {
	var o client.ListOptions
	var consistency string
	cmd := &cobra.Command{
		Use: "list", Short: "List the names in a namespace", Args: args(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			ns, err := a.namespace()
			if err != nil {
				return err
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			defer c.Close()
			o.Consistency = client.Consistency(consistency)
			names, err := allNames(cmd.Context(), c, ns, o)
			if err != nil {
				return err
			}
			return a.print(names, func(w io.Writer) {
				row(w, "KEY", "VERSION", "STATE")
				for _, n := range names.Names {
					state := "live"
					if n.Deleted {
						state = "deleted"
					}
					row(w, n.Key, strconv.FormatUint(n.Version, 10), state)
				}
			})
		},
	}
	cmd.Flags().StringVar(&o.Prefix, "prefix", "", "of the keys")
	cmd.Flags().BoolVar(&o.Deleted, "deleted", false, "also deleted secrets")
	cmd.Flags().StringVar(&consistency, "consistency", "", "strict (default), index or local")
	return cmd
}

// allNames reads all pages.
func allNames(ctx context.Context, c *client.Client, ns dsv.Namespace, o client.ListOptions) (client.Names, error) {
	o.Limit = 1000
	out := client.Names{Namespace: ns.String(), Names: []client.Name{}}
	for {
		page, err := c.List(ctx, ns, &o)
		if err != nil {
			return out, err
		}
		out.Names = append(out.Names, page.Names...)
		if o.After = page.Next; o.After == "" {
			return out, nil
		}
	}
}

// completeKeys completes names from the server, within a second and silently.
func (a *app) completeKeys(cmd *cobra.Command, list []string, start string) ([]string, cobra.ShellCompDirective) {
	if len(list) > 0 {
		return nil, cobra.ShellCompDirectiveDefault
	}
	if a.load(cmd) != nil || strings.Contains(start, ":") {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ns, err := a.namespace()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	c, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	names, _ := c.List(ctx, ns, &client.ListOptions{Prefix: start, Consistency: client.Local})
	var out []string
	for _, n := range names.Names {
		out = append(out, n.Key)
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

from leym.demo.run import main

main()

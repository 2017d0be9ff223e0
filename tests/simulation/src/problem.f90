!> Initial states: the shear layer that is watched, and the two with known solutions that the tests use.
module problem
   use kinds, only: dp
   use grid, only: mesh_type, state_type, new_mesh, new_state, periodic, open_boundary
   use eos, only: gas_type, set_zone
   use random, only: generator_type, new_generator
   implicit none
   private
   public :: shear_mesh, set_shear_layer
   public :: sod_mesh, set_sod
   public :: vortex_mesh, set_vortex

   real(dp), parameter :: pi = 3.14159265358979323846_dp

   !> A sum of plane waves that fit the periodic box.
   type :: waves_type
      real(dp), allocatable :: k_x(:), k_y(:), amplitude(:), phase(:)
   contains
      procedure :: value => waves_value
   end type waves_type

contains

   !> Periodic box of 2 x 1; `ny` zones high and 2 `ny` wide.
   pure type(mesh_type) function shear_mesh(ny)
      integer, intent(in) :: ny
      shear_mesh = new_mesh(2*ny, ny, 0.0_dp, 2.0_dp, 0.0_dp, 1.0_dp, periodic, periodic)
   end function shear_mesh

   !> Kelvin-Helmholtz instability: a dense band (density 2, to the right) in a thin gas (density 1, to the left) at equal
   !> pressure 1, both with smooth random density contrasts, the two interfaces rippled at random. `seed` chooses ripples and
   !> contrasts.
   subroutine set_shear_layer(mesh, gas, seed, state)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      integer, intent(in) :: seed
      type(state_type), intent(out) :: state
      !> Half-width of the interfaces, and speed of each side (convective Mach number near 1/2: unstable, and nowhere supersonic).
      real(dp), parameter :: thickness = 0.02_dp, speed = 0.5_dp
      type(generator_type) :: generator
      type(waves_type) :: lower, upper, contrast, swell
      integer :: i, j
      real(dp) :: x, y, band, density, near_interface

      generator = new_generator(seed, 1)
      lower = random_waves(generator, 8, 2, 10, 0, 0.008_dp)
      upper = random_waves(generator, 8, 2, 10, 0, 0.008_dp)
      contrast = random_waves(generator, 32, -14, 14, 7, 0.03_dp)
      swell = random_waves(generator, 8, 2, 8, 0, 0.02_dp)
      state = new_state(mesh)
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            x = mesh%x(i)
            y = mesh%y(j)
            band = 0.5_dp*(tanh((y - 0.25_dp - lower%value(x, 0.0_dp))/thickness) &
               & - tanh((y - 0.75_dp - upper%value(x, 0.0_dp))/thickness))
            density = exp(log(2.0_dp)*band + contrast%value(x, y))
            near_interface = exp(-((y - 0.25_dp)/0.1_dp)**2) + exp(-((y - 0.75_dp)/0.1_dp)**2)
            call set_zone(gas, density, speed*(2.0_dp*band - 1.0_dp), swell%value(x, 0.0_dp)*near_interface, 1.0_dp, &
               & state%u(i, j, :))
         end do
      end do
   end subroutine set_shear_layer

   !> `n` waves with whole numbers of periods over the box: along x from `low` to `high`, along y from -`high_y` to `high_y`.
   function random_waves(generator, n, low, high, high_y, amplitude) result(waves)
      type(generator_type), intent(inout) :: generator
      integer, intent(in) :: n, low, high, high_y
      real(dp), intent(in) :: amplitude
      type(waves_type) :: waves
      integer :: m, whole
      real(dp) :: number

      allocate (waves%k_x(n), waves%k_y(n), waves%amplitude(n), waves%phase(n))
      do m = 1, n
         call generator%between(low, high, whole)
         waves%k_x(m) = pi*real(whole, dp)
         call generator%between(-high_y, high_y, whole)
         waves%k_y(m) = 2.0_dp*pi*real(whole, dp)
         call generator%uniform(number)
         waves%amplitude(m) = amplitude*(0.5_dp + number)
         call generator%uniform(number)
         waves%phase(m) = 2.0_dp*pi*number
      end do
   end function random_waves

   pure real(dp) function waves_value(self, x, y)
      class(waves_type), intent(in) :: self
      real(dp), intent(in) :: x, y
      waves_value = sum(self%amplitude*cos(self%k_x*x + self%k_y*y + self%phase))
   end function waves_value

   !> Unit interval along x, a few zones along y.
   pure type(mesh_type) function sod_mesh(nx)
      integer, intent(in) :: nx
      sod_mesh = new_mesh(nx, 4, 0.0_dp, 1.0_dp, 0.0_dp, 4.0_dp/real(nx, dp), open_boundary, periodic)
   end function sod_mesh

   !> Sod's shock tube (1978, J. Comput. Phys. 27, 1), diaphragm at x = 1/2.
   pure subroutine set_sod(mesh, gas, state)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      type(state_type), intent(out) :: state
      integer :: i, j

      state = new_state(mesh)
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            if (mesh%x(i) < 0.5_dp) then
               call set_zone(gas, 1.0_dp, 0.0_dp, 0.0_dp, 1.0_dp, state%u(i, j, :))
            else
               call set_zone(gas, 0.125_dp, 0.0_dp, 0.0_dp, 0.1_dp, state%u(i, j, :))
            end if
         end do
      end do
   end subroutine set_sod

   !> Periodic square [-5, 5]^2 of `n` x `n` zones.
   pure type(mesh_type) function vortex_mesh(n)
      integer, intent(in) :: n
      vortex_mesh = new_mesh(n, n, -5.0_dp, 5.0_dp, -5.0_dp, 5.0_dp, periodic, periodic)
   end function vortex_mesh

   !> Isentropic vortex of strength 5 carried along the diagonal (Shu 1998, NASA/CR-97-206253): after a time of 10 it is back.
   pure subroutine set_vortex(mesh, gas, state)
      type(mesh_type), intent(in) :: mesh
      type(gas_type), intent(in) :: gas
      type(state_type), intent(out) :: state
      real(dp), parameter :: strength = 5.0_dp
      integer :: i, j
      real(dp) :: x, y, swirl, temperature, density

      state = new_state(mesh)
      do j = 1, mesh%ny
         do i = 1, mesh%nx
            x = mesh%x(i)
            y = mesh%y(j)
            swirl = strength/(2.0_dp*pi)*exp(0.5_dp*(1.0_dp - x**2 - y**2))
            temperature = 1.0_dp - (gas%gamma - 1.0_dp)/(2.0_dp*gas%gamma)*swirl**2
            density = temperature**(1.0_dp/(gas%gamma - 1.0_dp))
            call set_zone(gas, density, 1.0_dp - swirl*y, 1.0_dp + swirl*x, density*temperature, state%u(i, j, :))
         end do
      end do
   end subroutine set_vortex

end module problem
